"""Options, words, bars and tables that commands share."""
