"""The verb ``explain``: maps of what a model looks at in a volume, as files."""
