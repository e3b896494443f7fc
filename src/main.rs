fn main() {
    steadystate::lab::runtime::helper::main_if_helper();
}
