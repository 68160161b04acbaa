"""Schema version of all files that a run writes, and its check."""

from poziomka.core.errors import RunError

SCHEMA = 1


def demand_schema(version: object, where: str, error: type[RunError] = RunError) -> None:
    """Checks the schema version of a file.

    Args:
        version: version in the file; None if it has none.
        where: name of the file, for the message.
        error: class of the error to raise.

    Raises:
        RunError: `version` is not SCHEMA; raised as `error`.
    """
    if version == SCHEMA and not isinstance(version, bool):
        return
    if not isinstance(version, int) or isinstance(version, bool):
        message = f"{where} carries no schema_version (received {version!r}): it was not written by a run of Poziomka"
    elif version > SCHEMA:
        message = f"{where} has schema_version {version}, newer than the {SCHEMA} known here: install a newer Poziomka"
    else:
        message = (
            f"{where} has schema_version {version}, older than the {SCHEMA} read here: use the Poziomka that wrote it "
            "(provenance.json names its version), or start the run again in another folder"
        )
    raise error(message)
