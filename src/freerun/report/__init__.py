"""Charts and the single-file page, drawn from the plain dict of result.json."""
