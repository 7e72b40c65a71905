"""What each page shows, as one JSON-able value; the HTML is drawn from the same."""
