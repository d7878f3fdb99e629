"""The screens: the dashboard, the chat, and the sheets that lie over them."""
