"""A made-up product to inspect: pictures of bare circuit boards, drawn when they are needed."""
