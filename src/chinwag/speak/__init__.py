"""From a clause to sound at the listener's ear, and what of it was heard."""
