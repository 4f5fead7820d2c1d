"""Who may use an API: what it offers, what is granted, who reaches it, and which side says no."""
