"""Elements by their HTML names, so that a page says what it means: headings, tables, buttons."""

from nicegui.elements.mixins.text_element import TextElement


def tag(name: str, text: str = "", *, classes: str = "", **attributes: str | bool) -> TextElement:
    """An element with its text, which is never HTML. `aria_label` becomes `aria-label`, `for_` becomes `for`."""
    made = TextElement(tag=name, text=text)
    if classes:
        made.classes(classes)
    for attribute, value in attributes.items():
        made.props[attribute.rstrip("_").replace("_", "-")] = value
    return made
