"""Options: attrs fields that document themselves.

Every configuration class of every layer is a frozen attrs class whose fields are made by
`option`. The scenario loader, the JSON Schema and `mmactors explain` read what stands here, so a
default, its unit and its limits are written exactly once.
"""

from collections.abc import Sequence
from typing import Any, Final

from attrs import NOTHING, Factory, field, frozen
from attrs import Attribute as AttrsAttribute

_KEY: Final = "mmactors.option"


@frozen(kw_only=True)
class OptionDoc:
    """What is known about one option."""

    doc: str
    unit: str | None = None
    """`bytes` and `ns` also accept texts such as `64K` and `3us` in a scenario."""
    minimum: int | None = None
    maximum: int | None = None
    power_of_two: bool = False
    choices: tuple[str, ...] | None = None


def option(
    default: Any = NOTHING,
    *,
    doc: str,
    unit: str | None = None,
    minimum: int | None = None,
    maximum: int | None = None,
    power_of_two: bool = False,
    choices: Sequence[str] | None = None,
    factory: Any = None,
) -> Any:
    """Declare an attrs field with its documentation and limits; no default: it is required."""
    option_doc = OptionDoc(
        doc=doc,
        unit=unit,
        minimum=minimum,
        maximum=maximum,
        power_of_two=power_of_two,
        choices=None if choices is None else tuple(choices),
    )
    if factory is not None:
        default = Factory(factory)
    return field(default=default, metadata={_KEY: option_doc})


def filled_in(default: Any) -> Any:
    """Declare an attrs field that no scenario says: who loads one knows it. It decides nothing."""
    return field(default=default, eq=False, repr=False, metadata={_KEY: None})


def is_option(attribute: "AttrsAttribute[Any]") -> bool:
    """Return whether a scenario may say what this field is."""
    return attribute.init and attribute.metadata.get(_KEY, attribute) is not None


def option_doc(attribute: "AttrsAttribute[Any]") -> OptionDoc:
    """Return what `option` was told about this field."""
    doc = attribute.metadata.get(_KEY)
    assert isinstance(doc, OptionDoc), f"{attribute.name} was not declared with option()"
    return doc
