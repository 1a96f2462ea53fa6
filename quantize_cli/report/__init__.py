"""Reports for people and build servers: HTML, SVG, JUnit."""
