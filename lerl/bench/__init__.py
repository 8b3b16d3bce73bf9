"""What `lerl bench` measures: the speed and memory of users, retrieval and training."""
