"""What decoder families share: configuration, slots for tensors, rotary positions."""
