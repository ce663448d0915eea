"""Ways to get a source model without the victim's weights."""
