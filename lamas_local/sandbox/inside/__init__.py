"""What runs inside the sandbox. Its modules import only each other and light parts of the standard library.

They travel as compiled code in the request, so that the package itself need not exist in there.
"""
