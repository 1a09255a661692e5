"""Views of a machine in the text formats of /proc, so that existing readers parse them."""
