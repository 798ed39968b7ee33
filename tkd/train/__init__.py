"""Training: settings → teacher → cached attention → students → the best on validation, tested once."""
