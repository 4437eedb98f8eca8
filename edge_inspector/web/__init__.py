"""The web service: REST, events and the operators' page, in a process of its own."""
