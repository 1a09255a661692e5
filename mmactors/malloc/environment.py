"""What libraries have in common that read the environment of their process."""

from attrs import frozen


@frozen(kw_only=True)
class EntryIgnored:
    """An entry does not do what it looks like."""

    variable: str
    """The environment's variable in which it stands."""
    entry: str
    """Its text."""
    why: str
    legal: str
