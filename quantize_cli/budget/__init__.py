"""Which types make the most of so many bytes: what each costs is measured, and the best choice is searched.

`measure` (sensitivity.py) runs the model; `within` (choice.py) and all it needs work without machine code.
"""
