"""What validating one recording gives: values compared, values equal, the first difference."""

from attrs import define


class NotModelled(Exception):  # noqa: N818 - it is an answer, not an error of the recording
    """The case needs something that is not modelled yet."""


@define(kw_only=True)
class CaseResult:
    """The outcome of one recording (one case of one topic).

    A value counts as compared only when the recording calls it exact (or determined).
    """

    topic: str
    case: str
    path: str
    compared: int = 0
    equal: int = 0
    listed: int = 0
    """Recorder or phase values that were shown, not compared."""
    first_difference: str | None = None
    """Place, recorded value and ours."""
    not_validated: str | None = None
    """Why this topic is not supported yet; such a case never counts as passed."""

    def compare(self, place: str, recorded: object, ours: object) -> bool:
        """Compare one value; remember the place of the first that differs."""
        self.compared += 1
        if recorded == ours:
            self.equal += 1
            return True
        if self.first_difference is None:
            self.first_difference = f"{place}: recorded {recorded}, ours {ours}"
        return False

    def count(self, nr_equal: int) -> None:
        """Count values that were compared and are equal."""
        self.compared += nr_equal
        self.equal += nr_equal

    @property
    def passed(self) -> bool:
        """Whether something was compared and all of it was equal."""
        return self.not_validated is None and self.compared > 0 and self.equal == self.compared
