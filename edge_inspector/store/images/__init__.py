"""Pictures of parts on the disk: which are kept, how, and for how long."""
