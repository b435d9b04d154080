"""What verify.py inside an archive is joined from: the standard library only, so that it runs in ten years.

`archiving.join` makes one file of these modules in the order of their imports of one another. So each of them uses
``from archiving.verification.x import names`` for the others, and no two define the same name.
"""
