"""What `scimpipe demo` runs against: a Drupal-shaped site one can act upon."""
