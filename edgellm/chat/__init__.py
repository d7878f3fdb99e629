"""What is being said: requests, events, templates. Pure."""
