"""Models as they are served: the OpenAI and Anthropic protocols, prices, tokens, and the one HTTP client."""
