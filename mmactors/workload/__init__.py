"""What programs do: operations, programs, trace readers, generators."""
