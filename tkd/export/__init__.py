"""Export: a checkpoint becomes bundles on disk, each step proved; the only way from `tkd` into `converters`."""
