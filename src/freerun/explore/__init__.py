"""The local page where one asks what a model would predict next, and walks through what it would write."""
