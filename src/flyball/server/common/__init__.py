"""What the folders of the server share, and what knows none of them."""
