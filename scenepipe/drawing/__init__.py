"""Pictures made on this machine: a pipeline (`pipeline`), a scene (`scene`)."""
