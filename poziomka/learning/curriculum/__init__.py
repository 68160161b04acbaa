"""Which training problems come next."""
