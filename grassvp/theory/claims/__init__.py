"""The claims of the theory, each confronting a prediction with a measurement made by different code."""
