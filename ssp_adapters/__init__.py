"""The door of operators: from engines and price lists to offers."""
