"""Schema version of the files that a run writes, recipe.toml apart, and its check."""

from poziomka.core.errors import RunError

SCHEMA = 1


def demand_schema(version: object, where: str, error: type[RunError] = RunError, known: int = SCHEMA) -> None:
    """Checks the schema version of a file.

    Args:
        version: version in the file; None if it has none.
        where: name of the file, for the message.
        error: class of the exception that is raised.
        known: the only version that is accepted.

    Raises:
        RunError: of class `error`: `version` is not `known`.
    """
    if version == known and not isinstance(version, bool):
        return
    if not isinstance(version, int) or isinstance(version, bool):
        message = f"{where} carries no schema_version (received {version!r}): it was not written by a run of Poziomka"
    elif version > known:
        message = f"{where} has schema_version {version}, newer than the {known} known here: install a newer Poziomka"
    else:
        message = (
            f"{where} has schema_version {version}, older than the {known} read here: use the Poziomka that wrote it "
            "(provenance.json names its version), or start the run again in another folder"
        )
    raise error(message)
