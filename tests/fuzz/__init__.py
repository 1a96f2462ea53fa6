"""Every reader is given spoiled files: `python -m tests.fuzz --inputs 300000`, or `make fuzz`.

An input is a valid file, made by the builders of the other tests, that was spoiled where it has a structure (a JSON
value, a metadata key, a line of YAML, a field of a protobuf) or in its bytes. A reader may take it, or refuse it with
FormatError or QuantizeError. Any other exception, a warning, a panic, a signal, more than 10 seconds of processor
time, or more memory than 64 MB and four times the size of the files is a finding: the files are kept, and the command
that reads them again is printed.

    spoil_*   what is done to a file, by its kind
    seeds     the valid files
    readers   what reads them
    worker    one process that reads one input after the other, and what it cost
    campaign  processes, findings, figures
"""
