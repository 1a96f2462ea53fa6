"""What the methods share: the job, phases, steps, checkpoints, memory, and the files at the end."""
