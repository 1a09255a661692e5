"""What may be set: the environment's variables, which nothing else can change."""
