"""What the objects of a machine hold, as text, room by room: the reading half of the teller."""
