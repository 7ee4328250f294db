"""How the phantom is made: fields, shapes, a patient, painting, scanning."""
