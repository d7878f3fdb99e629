"""The colours. Calm: one accent, two for the graphs, three that mean something."""

from textual.theme import Theme

THEME = Theme(
    name="edgellm",
    dark=True,
    background="#0e1217",
    surface="#141a21",
    panel="#1a212a",
    foreground="#d3dae3",
    primary="#74b2f0",
    secondary="#b59cf0",
    accent="#74b2f0",
    success="#7fcf9c",
    warning="#e6bb6c",
    error="#f2827f",
    variables={
        "tone-label": "#8793a2",
        "tone-dim": "#6b7685",
        "tone-border": "#36404c",
        "tone-track": "#323b46",
        "tone-decode": "#76d7b4",
        "tone-prefill": "#b59cf0",
        "footer-background": "#0e1217",
        "footer-key-foreground": "#74b2f0",
        "footer-description-foreground": "#8793a2",
        "scrollbar": "#36404c",
        "scrollbar-background": "#0e1217",
        "scrollbar-hover": "#4a5665",
        "scrollbar-active": "#74b2f0",
        "scrollbar-background-hover": "#0e1217",
        "scrollbar-background-active": "#0e1217",
        "input-selection-background": "#74b2f0 35%",
    },
)
