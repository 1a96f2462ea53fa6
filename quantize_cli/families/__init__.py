"""What names mean: one file per `model_type` of config.json."""
