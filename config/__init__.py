"""Settings: what an operator writes in scimpipe.toml, as frozen models, and how logging is set up."""
