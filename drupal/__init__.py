"""The source: reads the users of a Drupal site, from its database or over JSON:API. Never writes."""
