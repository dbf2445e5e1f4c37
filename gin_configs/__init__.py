"""Gin configuration files; named `gin_configs/...` wherever medmt5 runs."""
