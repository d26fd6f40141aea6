# --- example
import clprune
# --- end
