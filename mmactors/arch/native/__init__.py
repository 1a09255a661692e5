"""Native code of the compiled functions: made once from their source, kept in a file, loaded."""
