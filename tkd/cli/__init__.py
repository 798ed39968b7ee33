"""The commands of `tkd`: each module reads argv, prints, and chooses an exit code; nothing else does."""
