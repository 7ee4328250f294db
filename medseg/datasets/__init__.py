"""Where cases come from: each data set turns a folder in its published layout into cases."""
