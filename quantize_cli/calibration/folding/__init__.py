"""Scales moved from one matrix into what comes before it."""
