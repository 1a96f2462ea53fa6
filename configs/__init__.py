"""Recipes a user can copy and edit: one TOML file per mix, shipped as package data."""
